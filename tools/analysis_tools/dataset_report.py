"""The same as ``sarlp dataset``, from a checkout; ``--help`` tells more."""

from sarlp.commands.dataset import main

if __name__ == '__main__':
    main()
