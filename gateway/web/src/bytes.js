// Amounts of bytes as people read them.

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes(count) {
  let [value, size] = [count, 0];
  while (value >= 1024 && size < SIZES.length - 1) [value, size] = [value / 1024, size + 1];
  return `${size === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${SIZES[size]}`;
}
