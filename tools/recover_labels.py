"""The same as ``sarlp recover``, from a checkout; ``--help`` tells more."""

from sarlp.commands.recover import main

if __name__ == '__main__':
    main()
