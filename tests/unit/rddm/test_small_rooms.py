"""Errors, registries, keyed randomness, the moving average, and AOSA on constructed tasks."""

from __future__ import annotations

import pickle  # noqa: TID251  # Ray pickles what crosses it

import pytest
import torch

from rddm import errors
from rddm.ema import EMA
from rddm.errors import ConfigError, RDDMError
from rddm.keyed import keyed_generator, keyed_seed
from rddm.losses import LOSSES
from rddm.registry import Registry

ERRORS = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, RDDMError)]


@pytest.mark.parametrize("error", ERRORS)
def test_errors_pickle_and_are_drawn_at_the_head_of_their_file(error: type[RDDMError]) -> None:
    again = pickle.loads(pickle.dumps(error("what was found")))
    assert (type(again), str(again)) == (error, "what was found")
    assert error.__name__ in (errors.__doc__ or "")
    assert error.exit_code in {1, 2, 3, 5}


def test_a_registry_names_the_near_miss() -> None:
    registry: Registry[int] = Registry("number")
    registry.register("seven")(7)
    assert (registry["seven"], list(registry), len(registry), "seven" in registry) == (7, ["seven"], 1, True)
    with pytest.raises(ConfigError, match="unknown number 'sevn'; did you mean 'seven'"):
        registry["sevn"]
    with pytest.raises(ValueError, match="registered already"):
        registry.register("seven")


def test_keys_decide_draws() -> None:
    assert keyed_seed(1, "a") == keyed_seed(1, "a")
    assert len({keyed_seed(1, "a"), keyed_seed("1", "a"), keyed_seed(1, "a", 0), keyed_seed(0, "a")}) == 4
    assert 0 <= keyed_seed(0) < 2**63
    draws = [torch.randn(3, generator=keyed_generator(1, "a")) for _ in range(2)]
    assert torch.equal(*draws)


def test_the_average_follows_its_definition_and_resumes() -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 3)
    ema, expected = EMA(net, decay=0.5), net.weight.detach().clone()
    for update in range(1, 4):
        torch.nn.init.normal_(net.weight)
        ema.update(net)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * net.weight.detach()
    torch.testing.assert_close(ema.module(net).weight, expected)
    again = EMA(net, decay=0.5)
    again.load_state_dict(ema.state_dict())
    assert torch.equal(again.module(net).weight, ema.module(net).weight)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected a number in \[0, 1\)"):
        EMA(net, decay=1.0)


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_loss_is_zero_for_a_hit_and_grows_with_the_miss(name: str) -> None:
    target = torch.rand(2, 3, 4, 4)
    hit, near, far = (LOSSES[name](target + miss, target) for miss in (0.0, 0.1, 0.5))
    assert hit.shape == (2,)
    assert (hit == 0).all()
    assert ((near > hit) & (far > near)).all()
