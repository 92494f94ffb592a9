// What the cases expect of a page.

export function equal(what, got, wanted) {
  if (got !== wanted) throw new Error(`${what}: expected ${JSON.stringify(wanted)}, got ${JSON.stringify(got)}`)
}

export function holds(what, condition) {
  if (!condition) throw new Error(`not so: ${what}`)
}

/** Waits until an element shows a text. */
export function shows(page, selector, text) {
  return page.locator(selector).filter({ hasText: text }).first().waitFor()
}

export async function fitsItsWidth(page, where) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  holds(`${where} is ${over} px wider than the window`, over <= 0)
}
