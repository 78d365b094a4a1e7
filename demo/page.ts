import type { Trainer } from "../src/client/types.ts";
import { formatShare } from "../src/text/numbers.ts";
import { messageOf } from "../src/text/show.ts";
import { App, type DeviceState } from "./app.ts";
import { type Attributes, fill, h, setText, svg } from "./dom.ts";
import { linkedView, restoredView } from "./draft/views.ts";
import { guardDrops } from "./drop/guard.ts";
import { SHOW_FIELD, showField } from "./errors/field.ts";
import { problemLine, SIGN_IN } from "./parts/notice.ts";
import { watchSurroundings } from "./surroundings.ts";
import { resultView } from "./views/result.ts";
import { runView } from "./views/run.ts";
import { runsView } from "./views/runs.ts";
import { startView } from "./views/start.ts";
import { storageView } from "./views/storage.ts";
import type { ShowView, View } from "./views/view.ts";

const NAVIGATION = [
  { href: "#/", text: "Train" },
  { href: "#/documents", text: "Documents" },
  { href: "#/chat", text: "Chat" },
  { href: "#/runs", text: "Runs" },
  { href: "#/storage", text: "Storage" },
];

/** The view for an address, by the part after #. */
function viewOf(hash: string): ShowView {
  const [, name, id, part] = hash.replace(/^#/, "").split("/").map(decodeURIComponent);
  if (name === "runs" && !id) return runsView;
  if (name === "runs") return part === "result" ? resultView(id) : runView(id);
  if (name === "storage") return storageView;
  if (name === "chat") return async (app, signal) => (await import("./views/chat.ts")).chatView(app, signal);
  if (name === "recorded")
    return async (app, signal) => (await import("./views/recorded.ts")).recordedView(app, signal);
  if (name === "documents")
    return async (app, signal) => (await import("./views/documents.ts")).documentsView(app, signal);
  if (name === "recipe" && id) return linkedView(id);
  if (name === "my-choices") return restoredView;
  return startView;
}

/** Parts of a page that is not the trainer's. */
interface Shell {
  app: App;
  navigation: typeof NAVIGATION;
  viewOf: (hash: string) => ShowView;
  footer: string;
}

const FOOTER =
  "Model, data and result stay on this machine. Nothing is sent anywhere, except to an endpoint that you name; downloads come from huggingface.co.";

/** Shows the page in `root`: header, the address's view, and footer. */
export function showPage(root: HTMLElement, create: () => Trainer, shell: Shell | null = null): void {
  const app = shell?.app ?? new App(create);
  const lifetime = new AbortController().signal;
  const links = (shell?.navigation ?? NAVIGATION).map(({ href, text }) => h("a", { href }, text));
  const device = h("p", { class: "device" });
  const notices = h("div", { class: "notices" });
  const main = h("main", { id: "main", tabindex: "-1" });
  const spoken = h("div", { class: "hidden", role: "status", "aria-live": "polite" });

  const skip = (event: Event) => {
    event.preventDefault(); // the address determines the view
    main.focus();
  };
  root.append(
    h("a", { class: "skip", href: "#main", on: { click: skip } }, "Skip to the content"),
    h(
      "header",
      { class: "top" },
      h(
        "div",
        { class: "bar" },
        h("a", { class: "brand", href: "#/" }, brandMark(), "Qwench"),
        h("nav", { "aria-label": "Main" }, ...links),
        device,
      ),
    ),
    h("section", { "aria-label": "Messages" }, notices),
    main,
    h("footer", { class: "bottom" }, h("p", {}, shell?.footer ?? FOOTER)),
    spoken,
  );

  if (!app.readOnly) app.device.watch(lifetime, (state) => showDevice(device, state));
  app.spoken.watch(lifetime, (text) => setText(spoken, text));
  app.notices.watch(lifetime, (list) =>
    fill(notices, ...list.map((notice) => problemLine(notice.kind, notice, () => app.dismiss(notice.id)))),
  );
  if (!app.readOnly) {
    watchSurroundings(app);
    guardDrops(app);
  }
  root.addEventListener(SIGN_IN, () => void askForToken(app));
  root.addEventListener(SHOW_FIELD, (event) => showField(String((event as CustomEvent).detail)));

  // shows the run's progress in the tab's title
  let titled = "Train";
  const showTitle = () => {
    const run = app.active.value;
    const share = run && run.activity !== "idle" ? `${formatShare(run.share())} · ` : "";
    document.title = `${share}${titled} · Qwench`;
  };
  app.active.watch(lifetime, (run) => run?.watch(lifetime, showTitle));

  let leave = new AbortController();
  const show = async (first: boolean) => {
    leave.abort();
    leave = new AbortController();
    const { signal } = leave;
    const hash = location.hash || "#/";
    for (const link of links) {
      const here = link.hash === "#/" ? hash === "#/" : hash.startsWith(link.hash);
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const { title, element } = await Promise.resolve((shell?.viewOf ?? viewOf)(hash)(app, signal)).catch((error) =>
      brokenView(error),
    );
    if (signal.aborted) return;
    // dismiss messages that linked here
    for (const { id, link } of app.notices.value) if (link && hash.startsWith(link.href)) app.dismiss(id);
    titled = title;
    showTitle();
    fill(main, element);
    if (first) return;
    scrollTo(0, 0);
    const heading = element.querySelector("h1");
    heading?.setAttribute("tabindex", "-1");
    heading?.focus({ preventScroll: true });
  };
  addEventListener("hashchange", () => void show(false));
  void show(true);
  void goOn(app);
}

async function askForToken(app: App): Promise<void> {
  const { signIn } = await import("./hub/sign-in.ts");
  await signIn(app, "Gated and private models need an account that has access to them.");
}

/** Resumes the run of a tab that was reloaded during training. */
async function goOn(app: App): Promise<void> {
  const run = await app.interrupted();
  if (!run) return;
  run.remark("note", "The page was reloaded during the run; the run continues from the last checkpoint.");
  const training = app.train(run);
  if (!location.hash.startsWith(`#/runs/${encodeURIComponent(run.id)}`))
    location.hash = `#/runs/${encodeURIComponent(run.id)}`;
  else dispatchEvent(new HashChangeEvent("hashchange")); // shows the live run, not its record
  await training;
}

function brokenView(error: unknown): View {
  const text = messageOf(error);
  return {
    title: "Not here",
    element: h(
      "div",
      { class: "view" },
      h("h1", {}, "This page cannot be shown"),
      h("p", {}, text),
      h("p", {}, h("a", { href: "#/" }, "Back to the start")),
    ),
  };
}

function showDevice(element: HTMLElement, state: DeviceState): void {
  const dot = (kind: string): Attributes => ({ class: `dot-${kind}`, "aria-hidden": "true" });
  if (state.state === "checking") fill(element, h("i", dot("wait")), "Looking for the GPU …");
  else if (state.state === "missing") fill(element, h("i", dot("bad")), "No WebGPU");
  else {
    const { adapter, software } = state.info;
    fill(
      element,
      h("i", dot(software ? "slow" : "good")),
      h("span", { class: "name" }, adapter),
      software && !/software/i.test(adapter) && " (software)",
    );
  }
}

function brandMark(): SVGElement {
  return svg(
    "svg",
    { viewBox: "0 0 32 32", width: 24, height: 24, "aria-hidden": "true", class: "mark" },
    svg("rect", { width: 32, height: 32, rx: 7 }),
    svg("path", { d: "M6 9c4 0 4.5 12.5 10 12.5S22 20 26 20" }),
    svg("circle", { cx: 26, cy: 20, r: 2.6 }),
  );
}
