// Opened from a file, a page may not fetch the others for the excerpts below a search result: then only titles are shown.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// An excerpt is of the text of the article, not of the buttons above it, nor of the heading that is the result's title.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  Search.htmlToText = (page, anchor) => {
    const found = new DOMParser().parseFromString(page, "text/html");
    const part = (anchor && found.getElementById(anchor.slice(1))) || found.querySelector("article");
    part.querySelectorAll("h1, h2, h3, h4, script, style, noscript, .headerlink").forEach((node) => node.remove());
    return part.textContent;
  };
});

// What the theme leaves out for readers with a keyboard or a screen reader.
window.addEventListener("load", async () => {
  for (const summary of document.querySelectorAll(".bd-sidenav summary")) {
    summary.ariaLabel = `pages of ${summary.closest("li").querySelector("a").textContent}`;
  }
  document.querySelector(".search-button-field")?.removeAttribute("aria-label"); // it says "Search" and the keys itself
  await window.MathJax?.startup?.promise;
  for (const formula of document.querySelectorAll("div.math")) {
    if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0; // arrow keys scroll it
  }
});
