"""`python -m jobs <verb>` is `rddm <verb>`."""

from jobs.cli import main

if __name__ == "__main__":
    main()
