"""Removes Lightning's advertisements from the logs."""

import logging


def quiet() -> None:
    """Drops Lightning's tips to install other products of its maker; all other messages stay."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logger = logging.getLogger(name)
        if _no_advertisement not in logger.filters:
            logger.addFilter(_no_advertisement)


def _no_advertisement(record: logging.LogRecord) -> bool:
    return not any(word in str(record.msg) for word in ("litlogger", "litmodels"))
