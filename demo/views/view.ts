import type { App } from "../app.ts";

/** What stands between header and footer. The signal aborts when it is left. */
export interface View {
  title: string;
  element: HTMLElement;
}
export type ShowView = (app: App, signal: AbortSignal) => View | Promise<View>;
