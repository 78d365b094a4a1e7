/** CSS rules of a comparison's page, added to those of every report. */
export const compareStyle = `
.dataset>h2{margin:36px 0 0;font-size:20px}
.dataset>h3{margin:32px 0 10px}
.dataset .headline{margin:16px 0 20px}
.verdict{margin:0 0 20px;padding:0;list-style:none}
.verdict li{margin:2px 0}
.notes{margin:20px 0 0;padding:10px 16px 10px 32px;background:var(--card);border:1px solid var(--rule);border-left:3px solid var(--s1);border-radius:6px;font-size:14px;overflow-wrap:anywhere}
.sheet{margin:0 0 16px;background:var(--card);border:1px solid var(--rule);border-radius:6px;overflow:hidden}
.sheet>summary{padding:9px 16px;font-size:14px}
.sheet .scroll{max-height:560px;overflow:auto;padding:0}
.scroll:focus-visible,summary:focus-visible{outline:2px solid var(--s0);outline-offset:-2px}
.sheet tr{border-top:0}
.sheet th,.sheet td{padding:6px 10px;border-top:1px solid var(--rule);text-align:right;white-space:nowrap;font-size:13.5px}
.sheet tr>:last-child{padding-right:16px}
.sheet thead th{position:sticky;z-index:1;top:0;border-top:0;background:var(--card);box-shadow:0 1px var(--rule);font-size:13px;vertical-align:bottom}
.sheet tbody tr:first-child>*{border-top:0}
.sheet tr>:first-child{position:sticky;left:0;padding-left:16px;background:var(--card);text-align:left;white-space:normal;color:var(--ink)}
.sheet thead th:first-child{z-index:2;color:var(--soft)}
.sheet tbody th:not(.problem){min-width:118px}
.sheet .words{text-align:left;white-space:normal;min-width:200px}
.sheet .problem{width:100%;min-width:230px}
.problem div{display:flex;flex-wrap:wrap;gap:0 12px}
.problem b{min-width:44px;font-weight:400}
.problem small{display:-webkit-box;flex:1 1 200px;-webkit-box-orient:vertical;-webkit-line-clamp:2;overflow:hidden;margin:0;overflow-wrap:anywhere}
.bars{display:grid;flex:1;align-content:start;grid-template-columns:minmax(60px,auto) 1fr;gap:7px 12px;align-items:center;margin:4px 0 8px;font-size:13px}
.bars dt{max-width:170px;overflow-wrap:anywhere;color:var(--soft)}
.bars dd{display:flex;flex-direction:column;gap:2px;margin:0}
.bar{display:flex;align-items:center;gap:8px;font-variant-numeric:tabular-nums;font-size:12px;line-height:14px}
.bar span{display:flex;flex:1;height:10px;background:var(--rule);border-radius:2px;overflow:hidden}
.bar span i{background:var(--c)}
.bar .span{position:relative;height:12px;overflow:visible;background:linear-gradient(var(--rule),var(--rule)) 0 50%/100% 1px no-repeat}
.span i,.span em,.span u{position:absolute;top:50%;translate:0 -50%}
.span u{height:16px;border-left:1px solid var(--soft)}
.bar .span i{height:4px;border-radius:2px;opacity:.5}
.span em{width:8px;height:8px;margin-left:-4px;border-radius:50%;background:var(--c)}
.bar b{min-width:38px;font-weight:400;text-align:right}
.o0{--c:var(--s2)}.o1{--c:var(--s1)}.o2{--c:var(--s3)}.o3{--c:var(--s0)}.o4{--c:var(--s4)}.o5{--c:var(--s5)}
.key .swatch{width:10px;height:10px;border:0;border-radius:2px;background:var(--c)}
.grid-figure{margin-bottom:16px}
.band{display:grid;grid-template-columns:auto 1fr;gap:0 10px;margin:4px 0 10px}
.band ol{margin:0;padding:0;list-style:none;font-size:11px;line-height:15px;color:var(--soft);text-align:right}
.band li{height:15px;max-width:120px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.cell{fill:var(--c);background:var(--c)}
.v0{--c:var(--rule)}.v1{--c:color-mix(in srgb,var(--s2) 40%,var(--card))}.v2{--c:color-mix(in srgb,var(--s2) 65%,var(--card))}.v3{--c:var(--s2)}.lost{--c:var(--s1)}
td.v0{color:var(--soft)}
td.v1,td.v2,td.v3{background:color-mix(in srgb,var(--s2) var(--much),transparent)}
td.v1{--much:10%}td.v2{--much:18%}td.v3{--much:28%}
td.lost{background:color-mix(in srgb,var(--s1) 26%,transparent);color:var(--ink)}
.sheet .cell-text{text-align:center;vertical-align:middle}
.sheet th.cell-text{white-space:normal;overflow-wrap:normal;vertical-align:bottom}
@media (max-width:560px){.sheet th,.sheet td{padding:6px 8px}.sheet tr>:first-child{padding-left:12px}.sheet tr>:last-child{padding-right:12px}.sheet>summary{padding:9px 12px}.sheet .problem{min-width:130px}.sheet .words{min-width:96px}.band li{max-width:64px}.bars dt{max-width:96px}}
@media print{.sheet .scroll{max-height:none}}
`;
