"""What explorer.html needs beside it, as scripts: a page that was opened as a file may load nothing else."""
