"""The same as ``sarlp convert nuswide``, from a checkout; ``--help`` tells more."""

import sys

from sarlp.commands import main

if __name__ == '__main__':
    main(['convert', 'nuswide', *sys.argv[1:]])
