/**
 * The files that a MongoDB URI names (certificates, keys) are relative to the configuration file's folder, as all paths in it;
 * the driver would look for them in the working directory.
 */
import { isAbsolute, resolve } from 'node:path';

const FILES = /^(tlsCAFile|tlsCertificateKeyFile|tlsCRLFile)=(.+)$/is;

export function withAbsoluteFiles(uri: string, folder: string): string {
  const question = uri.indexOf('?', uri.lastIndexOf('@') + 1);
  if (question === -1) return uri;
  const options = uri
    .slice(question + 1)
    .split('&')
    .map((option) => {
      const [, name, value] = FILES.exec(option) ?? [];
      if (name === undefined || value === undefined) return option;
      const path = decoded(value);
      return isAbsolute(path) ? option : `${name}=${encodeURIComponent(resolve(folder, path))}`;
    });
  return uri.slice(0, question + 1) + options.join('&');
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
