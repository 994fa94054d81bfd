/** A server's version, as far as it decides what is made of its entries. */

/** Major × 100 + minor. */
export function versionNumber(version: string): number {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major * 100 + minor;
}

/** Change events have `wallTime`, and streams `showExpandedEvents`, from 6.0 on. */
export function hasWallTime(number: number): boolean {
  return number >= 600;
}
