/** What can stand in an element: text goes in as text, never as HTML. */
export type Child = Node | string | number | null | undefined | false;

type Handlers = { [E in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[E]) => void };
type Attribute = string | number | boolean | null | undefined;
/** Attributes by name; true is an empty one, false, null and undefined are none. `on` holds listeners. */
export type Attributes = { on?: Handlers } & { [name: string]: Attribute | Handlers };

/** An element with attributes, listeners and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  const { on, ...rest } = attributes;
  for (const [name, value] of Object.entries(rest)) setAttribute(element, name, value as Attribute);
  for (const [type, handler] of Object.entries(on ?? {})) element.addEventListener(type, handler as EventListener);
  element.append(...nodes(children));
  return element;
}

/** An element of SVG. */
export function svg(tag: string, attributes: Record<string, Attribute> = {}, ...children: Child[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  element.append(...nodes(children));
  return element;
}

/** Puts children in the place of those that an element has. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...nodes(children));
}

/** Sets a text only where it differs: a live region is not read out twice. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows a button as out of use. It keeps the focus, which a disabled one would lose; its handler must look. */
export function setIdle(button: HTMLElement, idle: boolean): void {
  button.setAttribute("aria-disabled", String(idle));
}

let ids = 0;
/** An id that no other element has. */
export function uid(stem: string): string {
  return `${stem}-${++ids}`;
}

function setAttribute(element: Element, name: string, value: Attribute): void {
  if (value === false || value === null || value === undefined) return;
  element.setAttribute(name, value === true ? "" : String(value));
}

function nodes(children: readonly Child[]): (Node | string)[] {
  return children.flatMap((child) =>
    child === null || child === undefined || child === false ? [] : [typeof child === "number" ? String(child) : child],
  );
}
