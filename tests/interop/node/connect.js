// CONNECT: sends its standard input to a host through a proxy, and prints what
// comes back.  Its one argument is a SocksClientOptions in JSON.
'use strict';

const { SocksClient } = require('socks');

SocksClient.createConnection({ ...JSON.parse(process.argv[2]), command: 'connect' })
  .then(({ socket }) => {
    socket.on('error', fail);
    process.stdin.pipe(socket);
    // Not pipe(), which would have the socket flow before the package has handed
    // over what came together with the proxy's reply.
    socket.on('data', (data) => process.stdout.write(data));
  })
  .catch(fail);

function fail(error) {
  console.error(error.message);
  process.exitCode = 1;
}
