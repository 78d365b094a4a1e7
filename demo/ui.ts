import { showPage } from "./page.ts";
import { figuresView } from "./runs/figures.ts";
import mainStyles from "./styles/main.css?inline";
import { FolderApp } from "./ui/remote.ts";
import uiStyles from "./ui/ui.css?inline";
import { runView } from "./views/run.ts";
import { runsView } from "./views/runs.ts";
import type { ShowView } from "./views/view.ts";

// The page of `qwench ui`: runs in folders, read-only. One file, which the command line serves.

for (const text of [mainStyles, uiStyles]) {
  const sheet = new CSSStyleSheet(); // the policy forbids style elements
  sheet.replaceSync(text);
  document.adoptedStyleSheets.push(sheet);
}

function viewOf(hash: string): ShowView {
  const [, name, id, part] = hash.replace(/^#/, "").split("/").map(decodeURIComponent);
  if (name !== "runs" || !id) return runsView;
  return part === "result" ? figuresView(id) : runView(id);
}

const app = new FolderApp();
showPage(document.querySelector("#page")!, () => app.trainer, {
  app,
  navigation: [{ href: "#/", text: "Runs" }],
  viewOf,
  footer: "Read from folders on this machine by qwench ui, which changes nothing in them.",
});
