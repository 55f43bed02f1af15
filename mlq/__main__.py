"""python -m mlq: the same as the mlq command."""

from mlq_cli import main

if __name__ == "__main__":
    main()
