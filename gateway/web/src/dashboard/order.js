// Which rows of a list are shown, and in which order.

/** Text whose order is what people expect: i-9 before i-10, and no matter of capitals. */
export function natural(text) {
  return String(text).toLowerCase().replace(/\d+/g, (digits) => digits.padStart(12, '0'));
}

/** Items that have all words of `query` in what `text` says of them. */
export function matching(items, query, text) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return items;
  return items.filter((item) => {
    const whole = text(item).toLowerCase();
    return words.every((word) => whole.includes(word));
  });
}

/** A new array in the order of `key`, a number or text; items with the same key stand in the order of `id`. */
export function sorted(items, key, id, descending) {
  const keyed = items.map((item) => [key(item), id(item), item]);
  const sign = descending ? -1 : 1;
  keyed.sort(([a, idA], [b, idB]) => {
    if (a !== b) return a < b ? -sign : sign;
    return idA < idB ? -1 : Number(idA > idB);
  });
  return keyed.map(([, , item]) => item);
}
