// A stand-in for a style element, which the page's policy forbids: its text becomes a constructed style sheet, which
// only a script that may run anyway can make. It holds for the whole document while it is a part of it.

export function sheetElement(text = ""): HTMLElement {
  const sheet = new CSSStyleSheet();
  const element = document.createElement("template");
  const put = (css: string) => {
    sheet.replaceSync(css);
    if (!document.adoptedStyleSheets.includes(sheet)) document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  };
  Object.defineProperty(element, "textContent", { set: put });
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
    HTMLElement.prototype.remove.call(element);
  };
  if (text) put(text);
  return element;
}
