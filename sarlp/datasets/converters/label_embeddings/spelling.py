"""Class names as words."""

from collections.abc import Mapping

# VOC writes these as one word, which a tokeniser would cut into meaningless pieces
SPELLINGS = {'diningtable': 'dining table', 'pottedplant': 'potted plant', 'tvmonitor': 'tv monitor'}


def spell_out(name: str, extra: Mapping[str, str] | None = None) -> str:
    """The class name as words: VOC's compounds apart, underscores as spaces; ``extra`` adds spellings or replaces."""
    return {**SPELLINGS, **(extra or {})}.get(name, name).replace('_', ' ')
