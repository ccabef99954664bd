"""The same as ``sarlp train``, from a checkout; ``--help`` tells more."""

from sarlp.commands.train import main

if __name__ == '__main__':
    main()
