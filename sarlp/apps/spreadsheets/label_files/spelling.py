"""Which cells of a spreadsheet mean yes, no, and unknown."""

import json
from collections import Counter
from collections.abc import Sequence

from sarlp.datasets.annotation import AnnotationError
from sarlp.labels import NEGATIVE, POSITIVE, UNKNOWN
from sarlp.names.clean_names import clean_name

# -1 is in none: it is "unknown" in some data sets, "absent" in others and "difficult" in a third
WORDS = {
    POSITIVE: ('1', '1.0', 'yes', 'y', 'true', 't', '+', 'positive', 'present'),
    NEGATIVE: ('0', '0.0', 'no', 'n', 'false', 'f', '-', 'negative', 'absent'),
    UNKNOWN: ('', '?', 'na', 'n/a', '#n/a', '<na>', 'nan', 'null', 'unknown'),
}
# yes and no, true and false as others write them, and spreadsheet programs in their languages
OTHER_WORDS = {
    POSITIVE: (
        *(
            '✓',
            '✔',
            '☑',
            '✅',
            '1,0',
            'ja',
            'oui',
            'sí',
            'si',
            'sì',
            'sim',
            'tak',
            'evet',
            'ναι',
            'да',
            '是',
            'はい',
            '예',
        ),
        *('wahr', 'waar', 'vrai', 'verdadero', 'verdadeiro', 'vero', 'prawda', 'doğru', 'sant', 'истина'),
    ),
    NEGATIVE: (
        *('✗', '✘', '✖', '❌', '0,0', 'nein', 'nee', 'nej', 'nei', 'non', 'não', 'nao', 'nie', 'hayır', 'hayir', 'όχι'),
        *('нет', '否', 'いいえ', '아니요', 'falsch', 'onwaar', 'faux', 'falso', 'fałsz', 'yanlış', 'falskt', 'ложь'),
    ),
}
_TICKS = ('✓', '✔', '☑', '✅')
# what means no beside one of these; without, as often that nobody looked, or even yes
_BESIDE = {'-': ('+',), **dict.fromkeys(('✗', '✘', '✖', '❌'), _TICKS)}
NAMES = {POSITIVE: 'positive', NEGATIVE: 'negative', UNKNOWN: 'unknown'}
_OPPOSITE = dict(zip(WORDS[POSITIVE], WORDS[NEGATIVE], strict=True))
_OPPOSITE |= {negative: positive for positive, negative in _OPPOSITE.items()}


class Spelling(dict):
    """Label code by cell, ``spelling['Yes'] == 1``; None for a cell that is no label. Case and spaces do not matter.

    Args:
        positive, negative, unknown: words that mean this, beside or against :data:`WORDS`. ``negative=['']`` says that
            a blank means no.
        quoted: cells are JSON, in which a string has quotation marks.
    """

    def __init__(
        self,
        positive: Sequence[str] = (),
        negative: Sequence[str] = (),
        unknown: Sequence[str] = (),
        quoted: bool = False,
    ) -> None:
        super().__init__()
        self.given = {POSITIVE: tuple(positive), NEGATIVE: tuple(negative), UNKNOWN: tuple(unknown)}
        self.quoted = quoted
        self._codes = {word: code for words in (WORDS, OTHER_WORDS) for code in words for word in words[code]}
        own: dict[str, int] = {}
        for code, words in self.given.items():
            for word in words:
                if own.setdefault(self._key(word), code) != code:
                    raise AnnotationError(
                        f'the spelling {word!r} is given both as {NAMES[own[self._key(word)]]} and as {NAMES[code]}.'
                    )
        self._own = own
        self._codes |= own

    @staticmethod
    def _key(word: str) -> str:
        return clean_name(word).casefold()

    def _bare(self, cell: str) -> str:
        return json.loads(cell) if self.quoted and cell.startswith('"') else cell

    def __missing__(self, cell: str) -> int | None:
        code = self[cell] = self._codes.get(self._key(self._bare(cell)))
        return code

    def _first(self, code: int) -> str:
        return next(word for word in self._codes if self._codes[word] == code)

    def describe(self) -> str:
        """What is understood, for messages."""
        others = {word for words in OTHER_WORDS.values() for word in words} - self._own.keys()
        told = {word: code for word, code in self._codes.items() if word not in others}
        words = {code: [word or 'blank' for word in told if told[word] == code] for code in WORDS}
        understood = '; '.join(f'{NAMES[code]}: {", ".join(words[code])}' for code in WORDS)
        return f'{understood}; and yes and no of some other languages, ✓ and ✗'

    def check_signs(self, used: Counter, path: object) -> None:
        """Refuse a dash as "no" in a file without a plus, and a cross in one without a tick.

        As often a dash stands for "not looked at", and a cross for "there".

        Args:
            used: how often each cell occurs.
            path: the file, for the message.
        """
        keys = {self._key(self._bare(cell)) for cell in used}
        for sign, others in _BESIDE.items():
            if sign in keys and not keys & {*others} and sign not in self._own:
                what, may = ('a dash in a file without a plus', 'not known') if sign == '-' else (sign, 'yes')
                raise AnnotationError(
                    f'{path}: {what} may mean no, or {may}. Say which: --negative {sign} or '
                    f'--{"unknown" if sign == "-" else "positive"} {sign}'
                )

    def habits(self, used: Counter) -> dict[int, str]:
        """How this file spells each code, for writing: its most common spelling of it.

        A code that it does not have is spelled as goes with its opposite (``No`` with ``Yes``, ``false`` with
        ``true``), or as was given, or as a blank.

        Args:
            used: how often each cell occurs.
        """
        habits: dict[int, str] = {}
        bare: Counter[str] = Counter()
        for cell, count in used.items():
            bare[cell.strip()] += count
        for cell, _ in bare.most_common():
            if self[cell] is not None:
                habits.setdefault(self[cell], cell)
        for code, other in ((POSITIVE, NEGATIVE), (NEGATIVE, POSITIVE)):
            if code in habits:
                continue
            like = habits.get(other, '1' if other == POSITIVE else '0')
            alike = self._bare(like).strip()
            word = self.given[code][0] if self.given[code] else _OPPOSITE.get(self._key(alike))
            if word is None or self._codes[self._key(word)] != code:
                word = self._first(code)
            elif not self.given[code]:
                word = word.upper() if alike.isupper() else word.title() if alike.istitle() else word
            if self.quoted and (like.startswith('"') or not _is_json(word)):
                word = json.dumps(word, ensure_ascii=False)
            habits[code] = word
        if UNKNOWN not in habits:
            word = self._first(UNKNOWN)
            habits[UNKNOWN] = ('null' if not word else json.dumps(word)) if self.quoted else word
        return habits


def _is_json(word: str) -> bool:
    try:
        json.loads(word)
    except ValueError:
        return False
    return True
