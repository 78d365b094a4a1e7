// Vite turns these imports into text, and into a worker inside the bundle.
declare module "*.css?inline" {
  const text: string;
  export default text;
}
declare module "*?worker&inline" {
  const InlineWorker: new (options?: { name?: string }) => Worker;
  export default InlineWorker;
}
