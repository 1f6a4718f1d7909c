"""What can be measured of a page in a browser: whether people can read it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

# Each piece of text with its contrast to what is behind it (WCAG 2.2) and its size on the screen [CSS pixels].
_TEXTS = """() => {
    const channels = colour => colour.match(/[\\d.]+/g).map(Number);
    const luminance = colour => channels(colour).slice(0, 3)
        .map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const painted = colour => colour !== 'none' && (channels(colour)[3] ?? 1) > 0;
    const holds = (outer, inner) => outer.left <= inner.left && outer.right >= inner.right
        && outer.top <= inner.top && outer.bottom >= inner.bottom;
    const behind = element => {
        const box = element.getBoundingClientRect();
        const boxes = element.ownerSVGElement ? [...element.ownerSVGElement.querySelectorAll('rect')] : [];
        const under = boxes.filter(r => painted(getComputedStyle(r).fill))
            .filter(r => holds(r.getBoundingClientRect(), box)).pop();
        if (under) return getComputedStyle(under).fill;
        for (let e = element; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            if (painted(colour)) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
        if (!text || element.closest('title, desc, style, script')) continue;
        const style = getComputedStyle(element), drawn = element.ownerSVGElement;
        const [light, dark] = [luminance(drawn ? style.fill : style.color), luminance(behind(element))]
            .sort((a, b) => b - a);
        const size = parseFloat(style.fontSize) * (drawn ? element.getScreenCTM().a : 1);
        found.push({text, contrast: (light + 0.05) / (dark + 0.05), size});
    }
    return found;
}"""
# Elements that reach beyond the window, or beyond the drawing that they belong to; heads of tables that only screen
# readers are told are left out.
_TOO_WIDE = """() => {
    const edges = {left: 0, right: document.documentElement.clientWidth};
    const hidden = e => e && getComputedStyle(e).clipPath !== 'none';
    return [...document.body.querySelectorAll('*')].filter(e => !hidden(e.closest('thead'))).filter(e => {
        const box = e.getBoundingClientRect();
        const within = e.ownerSVGElement ? e.ownerSVGElement.getBoundingClientRect() : edges;
        return box.width && (box.left < within.left - 0.5 || box.right > within.right + 0.5);
    }).map(e => e.outerHTML.slice(0, 200));
}"""
_PICTURES = """() => [...document.querySelectorAll('svg')].map(svg => [
    svg.getAttribute('role'),
    ...svg.getAttribute('aria-labelledby').split(' ').map(id => document.getElementById(id).textContent),
])"""


def texts(page: Page) -> list[dict[str, Any]]:
    """Every text that is drawn: `text`, `contrast` to what is behind it, and `size` on the screen [CSS pixels]."""
    found: list[dict[str, Any]] = page.evaluate(_TEXTS)
    return found


def too_wide(page: Page) -> list[str]:
    """What makes people scroll sideways, as HTML."""
    beyond = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    found: list[str] = page.evaluate(_TOO_WIDE)
    return found if found or not beyond else ["the page"]


def pictures(page: Page) -> list[list[str]]:
    """Of each drawing its role, then its title and its description as a screen reader finds them."""
    found: list[list[str]] = page.evaluate(_PICTURES)
    return found


def levels(page: Page) -> list[int]:
    """The levels of all headings, in order."""
    found: list[int] = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(h => Number(h.tagName[1]))"
    )
    return found
