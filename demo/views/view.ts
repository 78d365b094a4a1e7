import type { App } from "../app.ts";

/** The content between header and footer. The signal aborts when the user leaves the view. */
export interface View {
  title: string;
  element: HTMLElement;
}
export type ShowView = (app: App, signal: AbortSignal) => View | Promise<View>;
