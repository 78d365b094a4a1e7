// What Vite makes of these addresses: text, and a worker that is part of the bundle.
declare module "*.css?inline" {
  const text: string;
  export default text;
}
declare module "*?worker&inline" {
  const InlineWorker: new (options?: { name?: string }) => Worker;
  export default InlineWorker;
}
