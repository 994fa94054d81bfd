/** For a link that leads nowhere. */
import type { JSX } from 'preact';
import { href } from '../router.ts';
import { Empty, Title } from '../ui/parts.tsx';

export function Missing(): JSX.Element {
  return (
    <>
      <Title>No such page</Title>
      <Empty title="The link leads to nothing that the console has.">
        <a href={href('overview')}>To the overview</a>
      </Empty>
    </>
  );
}
