"""The report as a static site: `python -m reports.site`. No server, no network: it opens from its folder."""
