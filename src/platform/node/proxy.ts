/** Variables that name a proxy, as curl and Python's requests read them. */
const VARIABLES = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/**
 * Sends every `fetch` of this process through the proxy that the environment names (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), as Deno
 * and Bun always do. Without a proxy it loads nothing.
 */
export async function useEnvProxy(env: Record<string, string | undefined> = process.env): Promise<void> {
  const other = "deno" in process.versions || "bun" in process.versions;
  if (other || !VARIABLES.some((name) => env[name])) return;
  const { EnvHttpProxyAgent, fetch: through } = await import("undici");
  const all = env.ALL_PROXY ?? env.all_proxy;
  const dispatcher = new EnvHttpProxyAgent({
    httpProxy: env.http_proxy ?? env.HTTP_PROXY ?? all,
    httpsProxy: env.https_proxy ?? env.HTTPS_PROXY ?? all,
    noProxy: env.no_proxy ?? env.NO_PROXY,
  });
  // undici's own fetch, because Node's may not match the version of undici's dispatchers
  const proxied = (input: string | URL, init?: object) => through(input, { ...init, dispatcher });
  globalThis.fetch = proxied as unknown as typeof fetch;
}
