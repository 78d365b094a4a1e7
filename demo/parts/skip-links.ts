import { h } from "../dom.ts";

/** Links to the parts of a form, and past them to its end, for the keyboard: they show when they have the focus. */
export function skipLinks(form: HTMLElement): HTMLElement {
  const headings = [...form.querySelectorAll<HTMLElement>("h2, h3")].filter(
    (heading) => heading.parentElement?.classList.contains("part") || heading.closest("aside"),
  );
  const last = headings.at(-1);
  const links = [last, ...headings.filter((heading) => heading !== last)].flatMap((heading) => {
    if (!heading) return [];
    const go = (event: Event) => {
      event.preventDefault(); // the address determines the view
      heading.tabIndex = -1;
      heading.focus();
    };
    const text = heading === last ? `${heading.textContent} and Train` : heading.textContent;
    return [h("a", { class: "skip-to", href: "#", on: { click: go } }, `Skip to ${text}`)];
  });
  return h("nav", { class: "skips", "aria-label": "Parts of the form" }, ...links);
}
