"""What checks annotations while tests run: beartype, with ints allowed where floats are (PEP 484's numeric tower)."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
