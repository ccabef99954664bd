"""Class names as words."""

from collections.abc import Mapping

from sarlp.names.clean_names import clean_name

# VOC writes these as one word, which a tokeniser would cut into meaningless pieces
SPELLINGS = {'diningtable': 'dining table', 'pottedplant': 'potted plant', 'tvmonitor': 'tv monitor'}


def spell_out(name: str, extra: Mapping[str, str] | None = None) -> str:
    """The class name as words: VOC's compounds apart, underscores as spaces; ``extra`` adds spellings or replaces."""
    name = clean_name(name)
    extra = {clean_name(key): words for key, words in (extra or {}).items()}
    return {**SPELLINGS, **extra}.get(name, name).replace('_', ' ')
