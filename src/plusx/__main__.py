"""`python -m plusx`: the command line."""

from plusx.cli.app import main

if __name__ == "__main__":
    main()
