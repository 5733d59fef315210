"""What an address says is checked: a page opens in words, with usual values in place of those that cannot be used."""

import pytest

BAD = {
    "start": ["pictures=5", "pictures=[[1],[2]]", "seed=1.5", "seed=-1", "pictures=null", "other=1", "__proto__={}"],
    "tour": ["card=99", "card=two", "card=[1]", "card=-1", "constructor=1", "card={"],
    "draw": [
        "seeds=5", "seeds=[]", "seeds=[1,2,3,4,5,6,7,8,9]", "seeds=[{}]", "machines=5", "machines=[[]]", "subject=none",
        "subject=own-gone", "label=x", "label=-1", "steps=1e9", "steps=0", "window=4", "window=[[1]]", "window=[]",
        "strokes=5", "strokes=[[1,2]]", "strokes=[[1e9,0,0,0]]", "step=x", "shown=y", "seed=99", "explain=[]",
        "subject=<img src=x onerror=alert(1)>",
    ],
    "fingers": ["window=4", "window=x", "when=-1", "when=1e999", "seed=[]"],
    "patterns": ["wound=5", "wound=[[0,0,1e9]]", "wound=[[0,0]]", "pattern=none", "seed=x"],
    "copied": ["subject=none", "example=5", "subject=[]", "example=__proto__"],
}  # fmt: skip


@pytest.mark.parametrize("view", BAD)
def test_values_that_cannot_be_used_are_named_and_replaced(page, address, view):
    for state in BAD[view]:
        page.goto("about:blank")
        page.goto(f"{address}#{view}?{state}")
        page.locator(".notice", has_text=state.split("=")[0]).wait_for()
        assert "the usual is shown instead" in page.locator(".notice").inner_text()
        assert page.locator("main h2").is_visible()
        assert page.locator("#tabs a").count() == 6
    page.goto("about:blank")
    page.goto(f"{address}#{view}")
    page.locator("main h2").wait_for()
    assert page.locator(".notice").is_hidden()


@pytest.mark.parametrize(
    "hash", ["#main", "#none", "#?", "#%E0%A4%A", "#start?%", "#__proto__", "#<b>", "#" + "x" * 9999]
)
def test_addresses_of_no_view_open_the_first_one(page, address, hash):
    page.goto(address + hash)
    page.get_by_role("button", name="Denoise").wait_for()


def test_the_link_to_the_content_keeps_the_address(page, address):
    page.goto(f"{address}#start?seed=3")
    page.get_by_role("button", name="Denoise").wait_for()
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.locator("main").evaluate("main => main === document.activeElement")
    assert page.url.endswith("#start?seed=3")
