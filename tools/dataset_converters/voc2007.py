"""The same as ``sarlp convert voc2007``, from a checkout; ``--help`` tells more."""

from sarlp.commands.convert_voc2007 import main

if __name__ == '__main__':
    main()
