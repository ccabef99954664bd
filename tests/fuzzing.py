"""Valid files, spoilt at random, and the running of a property over them; see test_fuzz.py."""

import contextlib
import copy
import io
import os
from datetime import timedelta

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from sarlp.errors import UserError

# of the slow form
SEEDS = tuple(map(int, os.environ.get('SARLP_FUZZ_SEEDS', '1').split(',')))


class Properties:
    """What holds for all spoilt files, by name.

    ``@fuzz(strategy, short=, slow=)`` registers ``function(root)``, which makes the valid files and returns the check
    of one spoiling; ``short`` and ``slow`` are how many spoilings each form tries.
    """

    def __init__(self):
        self.names = {}

    def __call__(self, strategy, short, slow):
        def register(function):
            self.names[function.__name__] = function, strategy, short, slow
            return function

        return register

    def run(self, name, root, number=None):
        """The short form, the same each time; or the slow one, from the seed ``number``.

        A failure prints the smallest spoiling that hypothesis finds, and how to call for it again.
        """
        function, strategy, short, slow = self.names[name]
        check = function(root)

        @settings(
            max_examples=short if number is None else slow,
            deadline=timedelta(seconds=30),  # no hang; the machine may be busy
            derandomize=number is None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def once(edits):
            with contextlib.redirect_stdout(io.StringIO()):  # the tables of the converters
                check(edits)

        (once if number is None else seed(number)(once))()


def attempt(read, named):
    """What is read, or None for a refusal as it must be."""
    try:
        return read()
    except UserError as error:
        assert str(named) in str(error) and len(str(error)) > len(str(named)) + 9
        return None


# ---- bytes ----

TOKENS = (
    *(b'', b'\x00', b'\xff', b'\xef\xbb\xbf', b'\n', b'\r\n', b'\\', b'"', b'[', b']', b'{', b'}', b',', b':', b' '),
    *(b'0', b'-1', b'1', b'2', b'1.0', b'1e999', b'NaN', b'true', b'null', b'"rest"', b'[' * 3000, b'9' * 5000),
    *(b'<', b'>', b'/', b'&lt;', b'&#27;', b'<!--', b'-->', b'<![CDATA[', b']]>', b'<!DOCTYPE a [', b'<!ENTITY '),
    *(b'</object>', b'<object>', b'<name>', b'</name>', b'<difficult>1</difficult>', b'../', b'\xc3\xa9', b'\xf0\x9f'),
)
_place = st.floats(0, 1, exclude_max=True)
_edits = st.one_of(
    st.tuples(st.just('flip'), _place, st.integers(0, 7)),
    st.tuples(st.just('cut'), _place, st.integers(1, 40)),
    st.tuples(st.just('copy'), _place, st.integers(1, 40)),
    st.tuples(st.just('insert'), _place, st.sampled_from(TOKENS)),
    st.tuples(st.just('replace'), _place, st.sampled_from(TOKENS)),
    st.tuples(st.just('end'), _place, st.none()),
)
spoilt_bytes = st.lists(_edits, min_size=1, max_size=4)


def spoil_bytes(content, edits):
    for kind, place, argument in edits:
        at = int(place * len(content))
        head, tail = content[:at], content[at:]
        if kind == 'flip' and tail:
            tail = bytes([tail[0] ^ 1 << argument]) + tail[1:]
        elif kind == 'cut':
            tail = tail[argument:]
        elif kind == 'copy':
            tail = tail[:argument] + tail
        elif kind == 'insert':
            tail = argument + tail
        elif kind == 'replace':
            tail = argument + tail[len(argument) :]
        elif kind == 'end':
            tail = b''
        content = head + tail
    return content


# ---- structures of dicts and lists ----

VALUES = (
    *(None, True, False, 0, 1, 2, 3, -1, 10**30, 0.0, 1.0, 1e300, '', ' ', 'rest', 'cat', 'a/../b', '/etc/passwd', 'é'),
    *('\ud800', '\x1b[2J', 'a\\b', 'x' * 5000, [], [0], [1, 1], [[0]], {}, {'id': 1}, [True], ['1'], 'b.jpg', 13),
)


def spoilt_structures(values=VALUES):
    kinds = st.sampled_from(('set', 'delete', 'twice', 'rename', 'swap'))
    return st.lists(st.tuples(kinds, _place, _place, st.sampled_from(values)), min_size=1, max_size=3)


def _holders(value):
    """All (container, key) below a value, in the order of the text."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _holders(item)


def spoil_structure(value, edits):
    value = copy.deepcopy(value)
    for kind, one, other, new in edits:
        places = list(_holders(value))
        if not places:
            break
        holder, key = places[int(one * len(places))]
        if kind == 'set':
            holder[key] = copy.deepcopy(new)
        elif kind == 'delete':
            del holder[key]
        elif kind == 'twice' and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == 'rename' and isinstance(holder, dict) and isinstance(new, str):
            holder[new] = holder.pop(key)
        elif kind == 'swap':
            there, where = places[int(other * len(places))]
            holder[key] = copy.deepcopy(there[where])
    return value
