"""What a model says about itself while it is made."""

import logging

import pytest
from mmengine.logging import MMLogger

from sarlp.io.quiet import quiet_mmengine


@pytest.mark.parametrize('of_a_run', [False, True])
def test_a_run_is_told_and_a_person_is_not(monkeypatch, of_a_run):
    monkeypatch.setattr(MMLogger, '_instance_dict', type(MMLogger._instance_dict)())
    logger = MMLogger.get_instance('run_1', log_level='INFO') if of_a_run else MMLogger.get_current_instance()
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger.handlers = [handler]
    for say in (logger.info, logger.warning):
        say('before')
    with quiet_mmengine():
        MMLogger.get_current_instance().info('detail')
        MMLogger.get_current_instance().warning('trouble')
    logger.info('after')
    assert records == ['before', 'before', *(['detail'] if of_a_run else []), 'trouble', 'after']
