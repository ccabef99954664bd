"""The same as ``sarlp convert voc2007``, from a checkout; ``--help`` tells more."""

import sys

from sarlp.commands import main

if __name__ == '__main__':
    main(['convert', 'voc2007', *sys.argv[1:]])
