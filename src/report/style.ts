/** Colours of background, text and series, by colour scheme. */
export const colours = {
  light:
    "--paper:#fbfaf8;--card:#fff;--ink:#1c1b19;--soft:#6b6862;--rule:#e4e1db;--s0:#1f5fa8;--s1:#b8541a;--s2:#2c7a4b;--s3:#8a4a9e;--s4:#8f7400;--s5:#b0345c",
  dark: "--paper:#161614;--card:#1e1e1b;--ink:#ecebe6;--soft:#9d9a92;--rule:#33322e;--s0:#7db4ee;--s1:#ee9a62;--s2:#74c493;--s3:#c79ad8;--s4:#d3ba4d;--s5:#f08aab",
};

/** Styles of a chart's parts. */
export const marks = `.s0{--c:var(--s0)}.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}.s4{--c:var(--s4)}.s5{--c:var(--s5)}
.grid{stroke:var(--rule)}.axis,.cursor{stroke:var(--soft);stroke-opacity:.6}
.tick{fill:var(--soft);font-size:11.5px;font-variant-numeric:tabular-nums}
.line{fill:none;stroke:var(--c);stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}
.line.dashed{stroke-dasharray:4 3}.dot{fill:var(--c)}
`;

/** The report's style sheet: light and dark, for screen, phone and print. */
export const style = `
:root{${colours.light}}
@media (prefers-color-scheme:dark){:root{${colours.dark}}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1120px;margin:0 auto;padding:40px 24px 56px}
header p{margin:4px 0 0;color:var(--soft)}
h1{margin:0;font-size:26px;line-height:1.25;font-weight:600;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{margin:0 0 8px;font-size:15px;font-weight:600}
.headline{display:flex;flex-wrap:wrap;gap:12px 40px;margin:28px 0;padding:16px 0;border:solid var(--rule);border-width:1px 0}
.headline dt{font-size:13px;color:var(--soft)}
.headline dd{margin:0;font-size:21px;line-height:1.3;font-weight:500;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:16px}
figure{display:flex;flex-direction:column;justify-content:space-between;margin:0;padding:14px 16px 10px;background:var(--card);border:1px solid var(--rule);border-radius:6px;min-width:0}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 16px;margin-bottom:6px;font-size:13px}
figcaption strong{font-weight:600}
.keys{display:flex;flex-wrap:wrap;gap:0 14px;color:var(--soft);font-variant-numeric:tabular-nums}
.keys b{color:var(--ink);font-weight:500}
.key i{display:inline-block;width:12px;margin-right:6px;vertical-align:middle;border-top:2px solid var(--c)}
.key.dashed i{border-top-style:dashed}
svg{display:block;width:100%;height:auto;touch-action:pan-y}
${marks}.tables{columns:2 380px;column-gap:40px;margin:36px 0 32px}
.tables section{break-inside:avoid;margin-bottom:28px}
table{width:100%;border-collapse:collapse;font-size:14px}
tr{border-top:1px solid var(--rule)}
th,td{padding:5px 0;text-align:left;vertical-align:top;font-weight:400;overflow-wrap:anywhere}
th{padding-right:16px;color:var(--soft)}
td{font-variant-numeric:tabular-nums;text-align:right}
.completions{margin-top:36px}
.completions p{margin:0;color:var(--soft)}
h3{margin:24px 0 10px;font-size:15px;font-weight:600}
small{margin-left:6px;font-size:13px;font-weight:400;color:var(--soft)}
article{margin-bottom:16px;background:var(--card);border:1px solid var(--rule);border-radius:6px;overflow:hidden}
summary{cursor:pointer;overflow-wrap:anywhere}
.prompt summary{padding:10px 16px;white-space:pre-line}
.prompt pre{margin:0 16px 12px;max-height:320px;background:var(--paper);white-space:pre-wrap;overflow-wrap:anywhere}
.scroll{overflow-x:auto;padding:0 16px}
article th,article td{padding:6px 0 6px 20px;text-align:right;white-space:nowrap}
article th{font-size:13px}
article td{font-size:13.5px}
article th:first-child,article td:first-child{padding-left:0;text-align:left;width:100%;min-width:260px;white-space:normal}
article td small{display:block;font-size:12px}
.text{white-space:pre-wrap;overflow-wrap:anywhere}
details[open]>summary.text{height:1.5em;overflow:hidden;color:var(--soft)}
.up{color:var(--s2)}.down{color:var(--s1)}
pre{margin:0;padding:16px;overflow:auto;background:var(--card);border:1px solid var(--rule);border-radius:6px;font:13px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
footer{margin-top:32px;font-size:13px;color:var(--soft)}
.empty{color:var(--soft)}
@media (max-width:560px){main{padding:24px 16px 40px}h1{font-size:22px}.headline{gap:12px 28px;margin:20px 0}.tick{font-size:16px}.tick.name{display:none}}
@media print{figure,tr{break-inside:avoid}}
`;

/** The report's only script: shows the values at the step nearest to the pointer. It inserts every text with textContent. */
export const script = `
for (const svg of document.querySelectorAll("svg[data-points]")) {
  const series = JSON.parse(svg.dataset.points);
  const caption = svg.parentElement.querySelector("figcaption");
  const at = caption.querySelector(".at");
  const values = [...caption.querySelectorAll("b[data-series]")];
  const before = [at.textContent, ...values.map((b) => b.textContent)];
  const cursor = svg.querySelector(".cursor");
  const nearest = (points, x) => points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const all = series.flatMap((s) => s.points);
    if (all.length === 0) return;
    const here = nearest(all, x);
    cursor.setAttribute("x1", here[0]);
    cursor.setAttribute("x2", here[0]);
    cursor.setAttribute("visibility", "visible");
    at.textContent = svg.dataset.x + " " + here[2];
    series.forEach((s, i) => {
      const point = s.points.findLast((p) => p[2] <= here[2]);
      if (values[i]) values[i].textContent = point ? point[3] : "\\u2013";
    });
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    at.textContent = before[0];
    values.forEach((b, i) => { b.textContent = before[i + 1]; });
  });
}
`;
