"""The same as ``sarlp convert released``, from a checkout; ``--help`` tells more."""

from sarlp.commands.convert_released import main

if __name__ == '__main__':
    main()
