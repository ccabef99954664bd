"""The same as ``sarlp test``, from a checkout; ``--help`` tells more."""

from sarlp.commands.test import main

if __name__ == '__main__':
    main()
