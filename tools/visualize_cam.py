"""The same as ``sarlp maps``, from a checkout; ``--help`` tells more."""

from sarlp.commands.maps import main

if __name__ == '__main__':
    main()
