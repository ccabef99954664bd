"""The same as ``sarlp convert mask``, from a checkout; ``--help`` tells more."""

from sarlp.commands.convert_mask import main

if __name__ == '__main__':
    main()
