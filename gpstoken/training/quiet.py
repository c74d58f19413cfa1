"""Lightning's advertisements, which would stand in every log."""

import logging


def quiet() -> None:
    """Leaves out Lightning's tips to install its maker's other products; all else that it logs stays."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logger = logging.getLogger(name)
        if _no_advertisement not in logger.filters:
            logger.addFilter(_no_advertisement)


def _no_advertisement(record: logging.LogRecord) -> bool:
    return not any(word in str(record.msg) for word in ("litlogger", "litmodels"))
