"""The same as ``sarlp convert nuswide``, from a checkout; ``--help`` tells more."""

from sarlp.commands.convert_nuswide import main

if __name__ == '__main__':
    main()
