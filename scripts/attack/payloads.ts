/** Prefixes that break out of the surrounding text, attribute, comment or element. */
const BREAKOUTS = [
  "",
  '">',
  "'>",
  "</textarea></title></pre></option></select></style></script>",
  "-->",
  "]]>",
] as const;

/** Strings that run `pwned()` if interpreted as HTML. */
const VECTORS = [
  "<script>pwned()</script>",
  "<img src=x onerror=pwned()>",
  "<svg onload=pwned()>",
  "<svg><animate onbegin=pwned() attributeName=x dur=1s>",
  "<iframe srcdoc='<script>parent.pwned()</script>'></iframe>",
  "<iframe src='javascript:parent.pwned()'></iframe>",
  "<details open ontoggle=pwned()>x</details>",
  "<input autofocus onfocus=pwned()>",
  "<video><source onerror=pwned()></video>",
  "<audio src=x onerror=pwned()></audio>",
  "<object data='javascript:pwned()'></object>",
  "<body onload=pwned()>",
  "<a href='javascript:pwned()' id=link>click</a>",
  "<form action='javascript:pwned()'><button>go</button></form>",
  "<marquee onstart=pwned()>x</marquee>",
  "<style>@keyframes k{}</style><b style='animation-name:k' onanimationstart=pwned()>x</b>",
] as const;

/** Payloads that need no prefix. */
const OTHERS = [
  '" onmouseover="pwned()" x="',
  "' onmouseover='pwned()' x='",
  '" autofocus onfocus="pwned()" tabindex="0',
  "javascript:pwned()",
  "JaVaScRiPt:pwned()//",
  "data:text/html,<script>parent.pwned()</script>",
  "$" + "{pwned()}",
  "{{constructor.constructor('pwned()')()}}",
  "<%= pwned() %>",
  "\\u003cimg src=x onerror=pwned()\\u003e",
  "&lt;img src=x onerror=pwned()&gt;",
  "&#60;img src=x onerror=pwned()&#62;",
  "<scr<script>ipt>pwned()</scr</script>ipt>",
  "<noscript><p title='</noscript><img src=x onerror=pwned()>'>",
  "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=pwned()&gt;'>",
  "<svg></p><style><a id='</style><img src=1 onerror=pwned()>'>",
  "<template><img src=x onerror=pwned()></template><img src=x onerror=pwned()>",
  "</p><img/src='x'/onerror=pwned()>",
  "<img src=x\nonerror\n=\npwned()>",
  "<IMG SRC=x OnErRoR=pwned()>",
  "';pwned();//",
  '";pwned();//',
  "`;pwned();//",
  "</script><script>pwned()</script>",
] as const;

/** Strings that must never run. */
export const PAYLOADS: readonly string[] = [
  ...BREAKOUTS.flatMap((out) => VECTORS.map((vector) => `${out}${vector}`)),
  ...OTHERS,
];
