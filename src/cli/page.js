// A click on a name sorts by its column: up, then down. NULL stays at the end; equal rows keep their order.
addEventListener("click", (event) => {
  const head = event.target.closest("th");
  if (!head) return;
  const up = head.ariaSort !== "ascending";
  for (const other of head.parentNode.cells) other.ariaSort = "none";
  head.ariaSort = up ? "ascending" : "descending";
  const body = head.closest("table").tBodies[0];
  const key = (row) => {
    const cell = row.cells[head.cellIndex];
    if (cell.className === "null") return null;
    return cell.className === "number" ? Number(cell.textContent.replace("inf", "Infinity")) : cell.textContent || cell.firstElementChild?.title || "";
  };
  const compare = (a, b) => (typeof a === "number" ? a - b || isNaN(a) - isNaN(b) : a.localeCompare(b));
  const rows = Array.from(body.rows, (row) => [key(row), row]);
  rows.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : up ? compare(a, b) : compare(b, a)));
  body.append(...rows.map(([, row]) => row));
});
