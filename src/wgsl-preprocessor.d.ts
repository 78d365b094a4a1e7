// wgsl-preprocessor 1.0.1 ships neither an entry point nor types.
declare module "wgsl-preprocessor/wgsl-preprocessor.js" {
  /** Tagged template with `#if ${x}` / `#elif` / `#else` / `#endif` on template values. */
  export function wgsl(strings: TemplateStringsArray, ...values: unknown[]): string;
}
