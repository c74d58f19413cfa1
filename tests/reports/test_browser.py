import pytest
from PIL import Image

from reports.site import __main__ as site
from tests.reports import chrome, contract

pytestmark = pytest.mark.skipif(chrome.BROWSER is None, reason="no chromium, chromium-browser or google-chrome")
DESKTOP, PHONE = 1280, 390


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = contract.write(tmp_path_factory.mktemp("report"))
    places = ["--report", str(folder), "--results", str(folder / "results"), "-o", str(folder / "site")]
    assert site.main([*places, "--explorer", "none"]) == 0
    return folder / "site"


@pytest.fixture
def tab(browser):
    """The browser with nothing to complain of, before and after."""
    browser.complaints.clear(), browser.requests.clear()
    browser.width(DESKTOP)
    yield browser
    assert browser.complaints == []
    assert [address for address in browser.requests if not address.startswith(("file:", "data:"))] == []
    assert browser.requests  # else nothing was watched


def column(tab, place: int, table: int = 0) -> list[str]:
    cells = f"document.querySelectorAll('table')[{table}].querySelectorAll('tbody tr:not(.source)')"
    return tab.run(f"[...{cells}].map(row => row.cells[{place}].textContent.trim())")


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_its_window_and_can_be_read(tab, built, tmp_path, width, scheme):
    tab.width(width)
    tab.media(color_scheme=scheme)
    for page in sorted(built.rglob("*.html")):
        tab.open(page.as_uri())
        assert tab.run("document.documentElement.scrollWidth") <= width, page
        assert tab.run("[...document.querySelectorAll('main img')].every(each => each.naturalWidth > 0)"), page
        assert tab.run(chrome.FAINT) == [], page
        picture = tab.picture(tmp_path / f"{page.stem}_{width}_{scheme}.png")
        with Image.open(picture) as shot:
            assert shot.width == pytest.approx(width, abs=20)  # a scroll bar's width
            dark = sum(shot.convert("L").resize((8, 8)).get_flattened_data()) / 64 < 128
            assert dark == (scheme == "dark"), page


def test_tables_scroll_in_their_own_box_on_a_phone(tab, built):
    tab.width(PHONE)
    tab.open((built / "tables" / "reconstruction.html").as_uri())
    box = "document.querySelector('.scroll')"
    assert tab.run(f"{box}.scrollWidth > {box}.clientWidth")
    assert tab.run(f"getComputedStyle({box}).overflowX") == "auto"


def test_a_click_sorts_by_value_with_dashes_last_and_a_third_restores(tab, built):
    tab.open((built / "tables" / "reconstruction.html").as_uri())
    psnr, lpips, tokens = 2, 3, 1
    heading = "document.querySelectorAll('thead')[0].rows[0].cells[{}]"
    before = column(tab, 0)

    def click(place: int) -> str:
        tab.run(heading.format(place) + ".querySelector('button').click()")
        return tab.run(heading.format(place) + ".getAttribute('aria-sort')")

    # Within each source. More is better: the best first. As text "9.5" would come before "10.25".
    assert (click(psnr), column(tab, psnr)) == ("descending", ["10.25 ± 0.5", "9.5 ± 0.25", "-", "28.81"])
    assert (click(psnr), column(tab, psnr)) == ("ascending", ["9.5 ± 0.25", "10.25 ± 0.5", "-", "28.81"])
    assert (click(lpips), column(tab, lpips)) == ("ascending", ["0.5 ± 0.125", "-", "-", "0.043"])
    assert tab.run(heading.format(psnr) + ".getAttribute('aria-sort')") == "none"
    assert (click(tokens), column(tab, tokens)) == ("ascending", ["8x8", "128", "-", "16x16"])
    sources = "[...document.querySelectorAll('table')[0].tBodies].map(body => body.rows[0].textContent.trim())"
    assert tab.run(sources) == ["ours, laptop scale, 64 px", "paper, ImageNet 256 px"]
    click(tokens)
    assert (click(tokens), column(tab, 0)) == ("none", before)
    # the table of a Markdown section: 1,000 is more than 9
    tab.run("[...document.querySelectorAll('h2')].find(h => h.textContent === 'Copies').nextElementSibling"
            ".querySelectorAll('button')[1].click()")  # fmt: skip
    assert column(tab, 1, table=2) == ["9", "1,000"]


def test_headings_sort_from_the_keyboard(tab, built):
    tab.open((built / "tables" / "reconstruction.html").as_uri())
    tab.run("document.querySelector('thead').rows[0].cells[2].querySelector('button').focus()")
    tab.press("Enter")
    assert column(tab, 0)[0] == "Wide"


def test_a_figure_opens_in_full_view_and_escape_closes_it(tab, built, tmp_path):
    tab.open((built / "tables" / "reconstruction.html").as_uri())
    tab.run("document.querySelector('a.zoom').focus()")
    tab.press("Enter")
    assert tab.run("document.querySelector('dialog').open")
    assert tab.run("document.querySelector('dialog img').src").endswith("figures/ablation.svg")
    tab.wait_for("document.querySelector('dialog img').complete")
    assert tab.run("document.querySelector('dialog').getBoundingClientRect().width") > 0.9 * DESKTOP
    tab.picture(tmp_path / "zoom.png", whole=False)
    tab.press("Escape")
    assert not tab.run("document.querySelector('dialog').open")
    assert tab.run("document.activeElement.className") == "zoom"
    assert tab.run("location.pathname").endswith("reconstruction.html")


def test_a_number_says_where_it_is_from(tab, built, tmp_path):
    tab.open((built / "tables" / "reconstruction.html").as_uri())
    tab.run("document.querySelector('a.origin').focus()")
    assert not tab.run("document.querySelector('#tip').hidden")
    assert tab.run("document.querySelector('#tip').textContent").splitlines()[1:3] == [
        "commit c0ffee123456",
        "MLflow run run-of-the-evaluation",
    ]
    tab.picture(tmp_path / "tip.png", whole=False)
    tab.press("Escape")
    assert tab.run("document.querySelector('#tip').hidden")


def test_the_menu_of_a_phone_opens_and_closes(tab, built):
    tab.width(PHONE)
    tab.open((built / "index.html").as_uri())
    shown = "document.querySelector('nav').getBoundingClientRect().height > 0"
    assert not tab.run(shown)
    for expected in (True, False):
        tab.run("document.querySelector('button.menu').click()")
        assert tab.run(shown) is expected


def test_paper_gets_no_menu_and_no_colour(tab, built, tmp_path):
    tab.open((built / "tables" / "claims.html").as_uri())
    tab.media(media="print")
    assert tab.run("document.querySelector('nav').getBoundingClientRect().height") == 0
    tab.picture(tmp_path / "print.png")
    tab.media(media="screen")
