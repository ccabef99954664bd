"""What libraries say while they make a model, to developers of their own."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Within, no progress and no list of what is left out of the file, such as a classifier; errors still raise."""
    from transformers.utils import logging as of_transformers

    level, bar = of_transformers.get_verbosity(), of_transformers.is_progress_bar_enabled()
    of_transformers.set_verbosity_error()
    of_transformers.disable_progress_bar()
    try:
        yield
    finally:
        of_transformers.set_verbosity(level)
        if bar:
            of_transformers.enable_progress_bar()


@contextlib.contextmanager
def quiet_mmengine() -> Iterator[None]:
    """Within, MMEngine's logger prints warnings alone, unless it is that of a run, whose log file wants the rest."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()  # of its own name where there is no run
    level = logger.level
    if logger.instance_name == 'mmengine':
        logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)
