"use strict";
// Figures and formulas that are wider than the page scroll; the keyboard must reach them.
(function () {
  const boxes = Array.from(document.querySelectorAll("figure > div, .equations, pre"));

  function reach() {
    const wide = boxes.map(function (box) { return box.scrollWidth > box.clientWidth; });
    boxes.forEach(function (box, i) {
      if (wide[i]) box.tabIndex = 0; else box.removeAttribute("tabindex");
    });
  }

  window.addEventListener("resize", reach);
  reach();
})();

// Shows only claims that contain all words and have the verdict. The URL keeps both: #find=relu&verdict=WRONG
(function () {
  const form = document.getElementById("filter");
  const table = document.querySelector("table.claims");
  if (!table) return;
  const find = document.getElementById("find");
  const verdict = document.getElementById("verdict");
  const count = document.getElementById("count");
  const none = document.getElementById("none");
  const rows = Array.from(table.tBodies[0].rows, function (row) {
    const cell = row.querySelector(".verdict");
    const formulas = Array.from(row.querySelectorAll("math"), function (math) { return math.getAttribute("alttext"); });
    const text = row.textContent + " " + formulas.join(" ");  // formulas as typed too
    return {row: row, text: text.toLowerCase(), verdict: cell ? cell.textContent : null};
  });

  function show() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let heading = null, shown = 0;
    rows.forEach(function (item) {
      if (item.verdict === null) {
        heading = item.row;
        heading.hidden = true;
        return;
      }
      const fits = (!verdict.value || item.verdict === verdict.value) &&
        words.every(function (word) { return item.text.includes(word); });
      item.row.hidden = !fits;
      if (fits) {
        shown += 1;
        if (heading) heading.hidden = false;
      }
    });
    none.hidden = shown > 0;
    count.textContent = shown + " of " + rows.filter(function (item) { return item.verdict !== null; }).length + " claims";
  }

  function keep() {
    show();
    const set = new URLSearchParams();
    if (find.value) set.set("find", find.value);
    if (verdict.value) set.set("verdict", verdict.value);
    history.replaceState(null, "", "#" + (set.toString() || "claims"));
  }

  function follow() {
    const set = new URLSearchParams(location.hash.slice(1));
    if (set.has("find") || set.has("verdict")) {
      find.value = set.get("find") || "";
      verdict.value = set.get("verdict") || "";
      show();
      form.scrollIntoView();
      return;
    }
    const row = document.getElementById(location.hash.slice(1));
    if (row && row.hidden) {  // a link to a claim that the filter hides: reset the filter
      find.value = verdict.value = "";
      show();
      row.scrollIntoView();
    }
  }

  document.getElementById("reset").addEventListener("click", function () {
    find.value = verdict.value = "";
    keep();
    find.focus();
  });
  form.hidden = false;
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  find.addEventListener("input", keep);
  verdict.addEventListener("change", keep);
  window.addEventListener("hashchange", follow);
  show();
  follow();
})();
